"""What a code of WordPress means to people, and whether the connection or one content is at fault."""

from __future__ import annotations

from app.integrations.service_errors import ItemRefused, Refused, ServiceError
from app.support.messages import Message

WHAT = {"post": Message("text"), "term": Message("category or tag"), "image": Message("image")}
_USER = Message("WordPress does not know this user, or the application password is wrong or was revoked. Make a new "
                "one in WordPress (Users, Profile, Application Passwords) and enter it in the connection.")
_NO_LOGIN = Message(
    "WordPress did not accept the application password: it is wrong, application passwords are switched off there "
    "(they need https), or the web server does not hand on the header Authorization.")
_OFF = Message("Application passwords are switched off on this site. Have them switched on, also in security plugins.")
_NO_REST = Message("The REST API of WordPress is switched off or limited, often by a security plugin. Allow it for the "
                   "user of this connection.")
CODES: dict[str, tuple[type[ServiceError], Message]] = {
    "incorrect_password": (Refused, _USER),
    "invalid_username": (Refused, _USER),
    "invalid_email": (Refused, _USER),
    "invalid_application_password": (Refused, _USER),
    "rest_not_logged_in": (Refused, _NO_LOGIN),
    "application_passwords_disabled": (Refused, _OFF),
    "application_passwords_disabled_for_user": (Refused, _OFF),
    "rest_no_route": (Refused, _NO_REST),
    "rest_disabled": (Refused, _NO_REST),
    "rest_forbidden": (Refused, _NO_REST),
    "rest_cannot_create": (Refused, Message("The user of this connection may not create this. Give it the role Author "
                                            "or Editor in WordPress.")),
    "rest_cannot_publish": (Refused, Message("The user of this connection may not publish. Give it the role Author or "
                                             "Editor in WordPress, or send drafts.")),
    "rest_cannot_edit": (ItemRefused, Message("The user of this connection may not edit this post, which belongs to "
                                              "somebody else. Give it the role Editor in WordPress.")),
    "rest_forbidden_context": (ItemRefused, Message("The user of this connection may not edit this post.")),
    "rest_cannot_assign_term": (ItemRefused, Message("The user may not assign these categories or tags.")),
    "rest_cannot_update": (ItemRefused, Message("The user may not write the field ainstein_key of posts.")),
    "empty_content": (ItemRefused, Message("Title, body and excerpt are empty.")),
}
