"""Shared by the tests: the programs that they start, independent clients, and the contents of pages and files."""
