"""How fast this machine tracks and trains, beside what it could do at best; `tracking/profile_speed.py` runs it."""
