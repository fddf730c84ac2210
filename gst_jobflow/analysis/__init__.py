"""What trajectories say: crystallinity, profiles, distribution functions."""
