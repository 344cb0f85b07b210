"""`video3d report RESULTS_DIR`: what lmms-eval wrote, beside the published numbers, as a table and as one page.

`results` reads the folder, `published` holds the numbers of the papers, `table` prints, `worst` picks examples,
`page` and `draw` make the HTML.
"""
