"""Where rows live and when they count: DuckLake tables, set-wise SQL, the ledger, releases, exports."""
