"""The official VOT toolkit: workspaces with an entry for our tracker, the process that it talks to, runs without it."""
