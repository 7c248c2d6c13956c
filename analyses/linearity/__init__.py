"""Are layers locally linear, and does it matter? The questions behind A-LQR, answered by layer."""
