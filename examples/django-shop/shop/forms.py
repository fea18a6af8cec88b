from django import forms


class OrderForm(forms.Form):
    email = forms.EmailField()
    quantity = forms.IntegerField(min_value=1, max_value=99, initial=1)
