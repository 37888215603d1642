"""Results that lie in a folder: finding runs, comparing them, following one request, and DataFrames."""
