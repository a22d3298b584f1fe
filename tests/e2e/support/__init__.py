"""What the end-to-end tests share: child processes, photos with known objects, and comparisons."""
