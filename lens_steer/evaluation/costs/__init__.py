"""What steering costs: nats along texts, sizes of edits, wording."""
