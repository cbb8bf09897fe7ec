"""A Django project as they were written around 2012, and still run."""
import os

BASE_DIR = os.path.dirname(os.path.abspath(__file__))
# Data of a test run stays out of the source tree.
DATA_DIR = os.environ["GUESTBOOK_DATA"]

SECRET_KEY = "not a secret: this project only ever runs in tests"
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "guestbook.urls"
USE_TZ = True

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "guestbook",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [os.path.join(BASE_DIR, "templates")],
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.path.join(DATA_DIR, "guestbook.sqlite3"),
        "OPTIONS": {"timeout": 30},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"

# Messages travel in a cookie of their own, set by one response and deleted by
# the next one that shows them.
MESSAGE_STORAGE = "django.contrib.messages.storage.cookie.CookieStorage"
# Fast, and fashionable when the project was young.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"
