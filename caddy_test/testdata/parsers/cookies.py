"""Reads Cookie headers, one a line in base64, and writes what a parser makes of
each: a list of [name, value] in JSON. The argument says which parser.
"""

import base64
import http.cookies
import io
import json
import sys


def simplecookie(header):
    """The standard library's, as applications without a framework use it."""
    try:
        jar = http.cookies.SimpleCookie(header)
    except http.cookies.CookieError:
        return []
    return [[name, morsel.value] for name, morsel in jar.items()]


def django_request(header):
    """A whole request, since Django decodes the header before it parses it."""
    from django.core.handlers.wsgi import WSGIRequest

    request = WSGIRequest(
        {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.input": io.BytesIO(), "HTTP_COOKIE": header}
    )
    return list(request.COOKIES.items())


if sys.argv[1] == "django":
    from django.conf import settings

    settings.configure()
    parse = django_request
else:
    parse = simplecookie

for line in sys.stdin:
    # WSGI hands on the bytes of a header as Latin-1.
    header = base64.b64decode(line).decode("latin-1")
    print(json.dumps(parse(header)), flush=True)
