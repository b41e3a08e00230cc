"""The page of a report: the plain data that it shows is made here, beside its template, scripts and styles.

model → `tree`, `rows` (each act compared with baseline and policy), `drafts` → `data` → js/, css/
                                                                       `plain` → where nothing runs
"""
