"""The page of a report: what it shows, as plain data, beside the template, the scripts and the styles.

model → `tree`, `rows` (each act `held` against a baseline and a policy), `drafts` → `data` → js/, css/
                                                                       `plain` → where nothing runs
"""
