"""Steps that ended without anybody knowing, or reaching, what they were for; and people who settle them."""
