"""The catalogue for people, and a small JSON interface."""

import socket

from django.db import transaction
from django.http import JsonResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET, require_POST

from . import queue
from .models import Order, OutOfStock, Product


@require_GET
def catalogue(request):
    context = {"products": Product.objects.all(), "views": queue.seen(), "replica": socket.gethostname()}
    return render(request, "shop/catalogue.html", context)


@require_POST
def place(request):
    """An order of `product` (a name) and `quantity`."""
    product = get_object_or_404(Product, name=request.POST.get("product", ""))
    quantity = request.POST.get("quantity", "")
    if not quantity.isdecimal() or not 1 <= int(quantity) <= 99:
        return JsonResponse({"error": "quantity should be 1 to 99"}, status=400)
    try:
        placed = Order.place(product, int(quantity))
    except OutOfStock as error:
        return JsonResponse({"error": str(error)}, status=409)
    transaction.on_commit(lambda: queue.put(placed.pk))
    return JsonResponse(_told(placed), status=201)


@require_GET
def order(request, number):
    return JsonResponse(_told(get_object_or_404(Order.objects.select_related("product"), pk=number)))


@require_GET
def health(request):
    """It serves: the database answers, and has been migrated."""
    return JsonResponse({"replica": socket.gethostname(), "products": Product.objects.count()})


def _told(order):
    return {"number": order.pk, "product": order.product.name, "quantity": order.quantity, "packed": order.packed}
