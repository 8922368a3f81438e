"""A mail composer: visitors attach files first and send the mail later."""
