"""The official VOT toolkit: workspaces, the registry entry, and the process that it talks to."""
