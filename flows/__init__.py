"""What happens, in order: one Prefect flow a file."""
