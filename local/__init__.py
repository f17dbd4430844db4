"""What stands in for Azure on this machine; never deployed."""
