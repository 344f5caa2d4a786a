"""The file agent.db: its connections and transactions, and the steps of its schema."""
