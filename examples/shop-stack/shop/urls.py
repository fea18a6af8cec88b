from django.urls import path

from . import views

urlpatterns = [
    path("", views.catalogue),
    path("orders/", views.place),
    path("orders/<int:number>/", views.order),
    path("health/", views.health),
]
