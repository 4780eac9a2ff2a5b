"""Files that are whole or not there, and what stands in them: CSV, XLSX, JSON."""
