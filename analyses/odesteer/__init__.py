"""What flows along barriers do, against one step, against lines, and against vectors."""
