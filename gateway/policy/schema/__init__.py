"""What a policy file may say: its sections, their values, and the lines that tell what is wrong."""
