"""`video3d serve`: scenes, questions and boxes in a browser.

`service` holds scenes, uploads and questions; `reading` is what runs in worker processes (`worker` bounds them); `app`
is the HTTP API and the page over the service, `middleware` its guards, `server` the process around it. docs/security.md
says what is promised.
"""
