"""The embedded model's card: what it does, what CAA makes of it, where its latents are."""
