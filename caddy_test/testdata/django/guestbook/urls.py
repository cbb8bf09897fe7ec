from django.contrib.auth.views import LoginView
from django.urls import path

from guestbook import views

urlpatterns = [
    path("", views.home),
    path("login/", LoginView.as_view(template_name="login.html")),
    path("logout/", views.leave),
    path("note/", views.note),
    path("like/", views.like),
    path("tab/<int:number>/", views.tab),
    path("cookies/", views.cookies),
]
