// What the hub refuses is said in its own words. Links into a Jupyter server, which is not here, lead nowhere.
$(document).ajaxError(function (event, answer) {
    if (answer.responseJSON && answer.responseJSON.message) {
        $(".modal").modal("hide");
        createModal("refusal-modal", "Not here", $("<p/>").text(answer.responseJSON.message));
    }
});
linkTo = function () {
    return function (index, element) { return element; };
};
