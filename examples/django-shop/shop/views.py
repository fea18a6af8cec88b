"""The pages of the shop and its small JSON interface."""

from django.contrib import messages
from django.http import JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods

from .forms import OrderForm
from .models import Category, Order, OutOfStock, Product


@require_GET
def catalogue(request, slug=None):
    category = get_object_or_404(Category, slug=slug) if slug else None
    words = request.GET.get("q", "")
    products = Product.objects.select_related("category").search(words)
    if category:
        products = products.filter(category=category)
    context = {"category": category, "categories": Category.objects.all(), "products": products, "words": words}
    return render(request, "shop/catalogue.html", context)


@require_http_methods(["GET", "POST"])
def product(request, slug):
    wanted = get_object_or_404(Product, slug=slug)
    form = OrderForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            order = Order.place(form.cleaned_data["email"], {wanted: form.cleaned_data["quantity"]})
        except OutOfStock as error:
            form.add_error("quantity", str(error))
        else:
            messages.success(request, f"Thank you! Your order has the number {order.pk}.")
            return redirect(wanted)
    return render(request, "shop/product.html", {"product": wanted, "form": form}, status=400 if form.errors else 200)


@require_GET
def products_json(request):
    fields = ("slug", "name", "price", "stock")
    return JsonResponse({"products": list(Product.objects.available().values(*fields))})


@require_GET
def health(request):
    return JsonResponse({"status": "ok", "products": Product.objects.count()})
