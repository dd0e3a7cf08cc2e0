"""Reports for people who check: one document, as HTML, Markdown or CSV; evidence by control also as OSCAL. Pure."""
