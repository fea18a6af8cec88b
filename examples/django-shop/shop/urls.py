from django.urls import path

from . import views

app_name = "shop"
urlpatterns = [
    path("", views.catalogue, name="catalogue"),
    path("category/<slug:slug>/", views.catalogue, name="category"),
    path("product/<slug:slug>/", views.product, name="product"),
    path("api/products/", views.products_json, name="products-json"),
    path("health/", views.health, name="health"),
]
