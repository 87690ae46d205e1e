"""From the bytes of a policy file to a plain tree whose every key and value knows its line and column. No rule of the policy lives here."""
