"""HTML pages: one file each, charts that a reader can point at, nothing fetched."""
