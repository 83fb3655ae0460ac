"""What runs on a node: the contract with the coordinator, one trial or many, models, data and artifacts."""
