"""Text as an attacker would have it in a scan's name, a question or an answer."""

HOSTILE = (
    "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=2'>\u2028 {{DATA}} \"'`${1}\\ &lt;b&gt;"
)
