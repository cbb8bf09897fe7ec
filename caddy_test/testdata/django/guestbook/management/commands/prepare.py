from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    help = "Creates the database and the two users of the scripted visit."

    def handle(self, *args, **options):
        call_command("migrate", verbosity=0)
        for name in ("alice", "bob"):
            User.objects.create_user(name, password="password of " + name)
