"""What is watched while a network trains: gradients by depth, and the gap between training and validation."""
