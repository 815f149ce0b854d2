"""Environments of their own for the peers that benches compare with: so far every peer is among our own packages."""


def main() -> None:
    """`python -m bench.environments`: say that there is nothing to build."""
    print("Nothing to build: bench.run compares with DuckDB, Pillow and urllib, which .venv has.")


if __name__ == "__main__":
    main()
