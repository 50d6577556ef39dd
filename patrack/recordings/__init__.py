"""Recordings of two sensors: files and videos in temporal order, paired frame by frame, decoded to arrays."""
