"""Results for people to look at: tables, figures, videos. Import the module you need; each has its own libraries."""
