"""All methods on several models and behaviours, at equal search and equal cost."""
