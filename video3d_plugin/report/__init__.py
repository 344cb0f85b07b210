"""`video3d report RESULTS_DIR`: results of lmms-eval beside published numbers, as a table and as an HTML page.

`results` reads the folder, `published` collects the published numbers, `table` prints, `worst` selects examples, and
`page` and `draw` write the HTML.
"""
