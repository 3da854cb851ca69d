"""``consumer audit``: proof, record by record, that nothing was lost and nothing was changed."""
