"""Who may do what: tokens, logins, the table of rights, and the audit log."""
