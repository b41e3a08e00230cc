"""The page of a report: makes the plain data that it shows; its template, scripts and styles are here, too.

model → `tree`, `rows` (each act `held` against a baseline and a policy), `drafts` → `data` → js/, css/
                                                                       `plain` → where nothing runs
"""
