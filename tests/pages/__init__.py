"""Pages of the documentation as scripts: what a reader types is typed by tests."""
