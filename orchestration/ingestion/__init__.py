"""Takes landing files in: accepted rows to the raw zone, the others to `rejected`. No dagster here."""
