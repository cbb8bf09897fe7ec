from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.contrib.auth.signals import user_logged_in
from django.dispatch import receiver
from django.http import JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_POST


@receiver(user_logged_in)
def greet(sender, request, user, **kwargs):
    messages.success(request, "Welcome, %s" % user.username)


@ensure_csrf_cookie
def home(request):
    return render(request, "home.html", {
        "notes": request.session.get("notes", []),
        "likes": request.session.get("likes", 0),
    })


@login_required
@require_POST
def note(request):
    request.session["notes"] = request.session.get("notes", []) + [request.POST["text"]]
    messages.info(request, "Noted: %s" % request.POST["text"])
    return redirect("/")


@login_required
@require_POST
def like(request):
    request.session["likes"] = request.session.get("likes", 0) + 1
    return JsonResponse({"likes": request.session["likes"]})


@login_required
def tab(request, number):
    """A page of which a visitor opens several at once; each has a cookie of its own."""
    response = render(request, "tab.html", {"number": number})
    response.set_cookie("tab_%d" % number, "open-%d" % number, httponly=True)
    return response


@require_POST
def leave(request):
    logout(request)
    return redirect("/")


def cookies(request):
    """What arrived, for the tests to compare."""
    return JsonResponse({"cookies": request.COOKIES, "raw": request.META.get("HTTP_COOKIE", "")})
