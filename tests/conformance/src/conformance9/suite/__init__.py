"""The tests. A module for each group of clauses; `task` and `workqueue` gather those of a layer for star import."""
