"""What people look at: tables, plots, overlay videos. Import the module you need; each has its own libraries."""
