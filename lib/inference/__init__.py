"""Running trackers over sequences: one by one, in several processes, or many in one step."""
