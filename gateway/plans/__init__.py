"""Plans: those under way, those taken up again from the record, who follows them, and how many there may be."""
